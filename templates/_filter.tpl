% # What narrows a list, what it is narrowed by now, and how often values occur in it.
<form class="filter" method="get" action="{{page.action}}" role="search" data-tidy>
%   for name, value in page.hidden.items():
  <input type="hidden" name="{{name}}" value="{{value}}">
%   end
%   for field in page.params:
%     include('_field.tpl', field=field)
%   end
%   if page.search is not None:
  <div class="field search"><label for="table-search">{{t("table.search")}}</label><input type="search" id="table-search" name="_q" value="{{page.search}}" dir="auto"></div>
%   end
%   if page.asking:
  <details class="narrow{{" few" if page.few else ""}}"{{" open" if page.narrowed else ""}}><summary class="button">{{t("filter.title")}}</summary>
    <div class="controls">
{{!page.asking}}
    </div>
  </details>
%   end
  <button class="button">{{t("table.show")}}</button>
</form>
% if page.chips:
<ul class="chips" aria-label="{{t("filter.active")}}">
%   for chip in page.chips:
  <li class="chip"><bdi>{{chip.words}}</bdi>
%     if chip.href:
    <a href="{{chip.href}}" aria-label="{{t("filter.remove", what=chip.words)}}">×</a>
%     end
  </li>
%   end
  <li><a href="{{page.action}}">{{t("filter.clear")}}</a></li>
</ul>
% end
% for facet in page.facets:
<div class="facet"><h2 id="facet-{{facet.id}}">{{facet.title}}</h2>
  <ul aria-labelledby="facet-{{facet.id}}">
%   for one in facet.values:
    <li><a href="{{one.href}}"{{!' aria-current="true"' if one.active else ""}}><bdi>{{one.title}}</bdi> <span class="count">{{one.count}}</span></a></li>
%   end
  </ul></div>
% end
