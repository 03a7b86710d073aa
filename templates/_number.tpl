<section class="block block-number span-{{getattr(block, 'span', 0)}}" aria-labelledby="{{block.id}}">
  <h2 id="{{block.id}}"><bdi>{{block.title}}</bdi></h2>
  <p class="big"><a href="{{block.href}}" aria-labelledby="{{block.id}} {{block.id}}-n"><bdi id="{{block.id}}-n">{{block.value}}</bdi></a></p>
</section>
