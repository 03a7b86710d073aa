<%
rebase('layout.tpl')
chosen = [field.checked or (field.widget != "checkbox" and field.value) or any([o.selected and o.value for o in field.options]) for field in page.params]
narrowed = page.search or any(chosen)
%>
<div class="head">
  <div>
    <h1><bdi>{{page.title}}</bdi></h1>
% if page.note:
    <p class="note">{{page.note}}</p>
% end
  </div>
% if page.create_href:
  <div class="tools">
%   if page.import_href:
    <a class="button" href="{{page.import_href}}">{{t("import.title")}}</a>
%   end
    <a class="button solid" href="{{page.create_href}}">{{page.create}}</a></div>
% end
</div>
% include('_errors.tpl')
% if page.params or page.search is not None:
<form class="filter" method="get" action="{{page.action}}" role="search">
%   for name, value in page.hidden.items():
  <input type="hidden" name="{{name}}" value="{{value}}">
%   end
%   for field in page.params:
%     include('_field.tpl', field=field)
%   end
%   if page.search is not None:
  <div class="field search"><label for="table-search">{{t("table.search")}}</label><input type="search" id="table-search" name="_q" value="{{page.search}}" dir="auto"></div>
%   end
  <button class="button">{{t("table.show")}}</button>
%   if narrowed:
  <a class="button" href="{{page.action}}">{{t("table.clear")}}</a>
%   end
</form>
% end
% if page.chart:
%   include('_chart.tpl', chart=page.chart)
% end
% rows = page.rows.html
% if page.rows and page.several:
%   include('_several.tpl', bar=page.several.bar)
% end
% if page.rows:
<div class="scroll" role="region" aria-labelledby="table-caption" tabindex="0">
<table class="data">
  <caption id="table-caption" class="visually-hidden">{{page.title}}</caption>
  <thead><tr>
%   if page.several:
    <th class="box" scope="col"><span class="visually-hidden">{{t("several.column")}}</span></th>
%   end
%   for column in page.columns:
    <th scope="col" class="{{'num' if column.numeric else ''}}"
%     if column.sorted:
      aria-sort="{{column.sorted}}"
%     end
    >
%     if column.sort_href:
      <a href="{{column.sort_href}}">{{column.title}}</a>
%     else:
      {{column.title}}
%     end
    </th>
%   end
  </tr></thead>
  <tbody>
{{!rows}}
  </tbody>
  {{!page.totals}}
</table>
</div>
%   if page.no_totals:
<p class="no-totals">{{page.no_totals}}</p>
%   end
% else:
<div class="empty">
  <p>{{page.empty}}</p>
</div>
% end
<div class="under">
  <p class="count">{{page.count}}</p>
% if page.first_href or page.next_href:
  <nav class="pager" aria-label="{{t("table.pages")}}">
%   if page.first_href:
    <a class="button small" href="{{page.first_href}}" rel="first">{{t("table.first")}}</a>
%   end
%   if page.next_href:
    <a class="button small" href="{{page.next_href}}" rel="next">{{t("table.next")}}</a>
%   end
  </nav>
% end
% if page.formats:
  <p class="formats"><span>{{t("table.formats")}}</span>
% for ending, href in page.formats.items():
    <a href="{{href}}">{{ending}}</a>
% end
  </p>
% end
</div>
