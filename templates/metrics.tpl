% rebase('layout.tpl')
% include('_crumbs.tpl')
<div class="head"><h1>{{page.title}}</h1></div>
<div class="scroll" role="region" aria-labelledby="table-caption" tabindex="0">
<table class="data">
  <caption id="table-caption" class="visually-hidden">{{page.title}}</caption>
  <thead><tr><th scope="col">Metric</th><th scope="col">Labels</th><th scope="col" class="num">Value</th><th scope="col">What it is</th></tr></thead>
  <tbody>
% for meter in page.meters:
%   for row in meter.rows:
    <tr><td>{{meter.name}}</td><td><bdi>{{row.labels}}</bdi></td><td class="num">{{row.value}}</td><td class="long">{{meter.help}}</td></tr>
%   end
% end
  </tbody>
</table>
</div>
<div class="under">
  <p class="formats"><span>Also as</span> <a href="{{page.text_href}}">text for Prometheus</a></p>
</div>
