<figure class="chart">
  <img src="{{chart.src}}" alt="{{chart.alt}}" width="960" height="400" decoding="async">
</figure>
