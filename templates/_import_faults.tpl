<div class="scroll" role="region" aria-labelledby="{{name}}" tabindex="0">
<table class="data">
  <caption id="{{name}}" class="visually-hidden">{{t("import.faults")}}</caption>
  <thead><tr><th scope="col" class="num">{{t("import.row")}}</th><th scope="col">{{t("import.place")}}</th><th scope="col">{{t("import.fault")}}</th></tr></thead>
  <tbody>
% for one in faults:
    <tr><td class="num">{{one.row}}</td><td><bdi>{{one.place}}</bdi></td><td class="long">{{one.detail}}</td></tr>
% end
  </tbody>
</table>
</div>
