% rebase('layout.tpl')
<div class="head"><h1>{{page.title}}</h1></div>
<div class="scroll" role="region" aria-labelledby="table-caption" tabindex="0">
<table class="data">
  <caption id="table-caption" class="visually-hidden">{{page.title}}</caption>
  <thead><tr><th scope="col">{{t("metrics.name")}}</th><th scope="col">{{t("metrics.labels")}}</th><th scope="col" class="num">{{t("metrics.value")}}</th><th scope="col">{{t("metrics.help")}}</th></tr></thead>
  <tbody>
% for meter in page.meters:
%   for row in meter.rows:
    <tr><td>{{meter.name}}</td><td><bdi>{{row.labels}}</bdi></td><td class="num">{{row.value}}</td><td class="long" lang="en">{{meter.help}}</td></tr>
%   end
% end
  </tbody>
</table>
</div>
<div class="under">
  <p class="formats"><span>{{t("table.formats")}}</span> <a href="{{page.text_href}}">{{t("metrics.text")}}</a></p>
</div>
