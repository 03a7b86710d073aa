% # What narrows a list, what it is narrowed by now, and how often values occur in it.
<form class="filter" method="get" action="{{page.action}}" role="search" data-tidy>
%   for field in page.params:
%     include('_field.tpl', field=field)
%   end
%   if page.search is not None:
  <div class="field search"><label for="table-search">{{t("table.search")}}</label><input type="search" id="table-search" name="_q" value="{{page.search}}" dir="auto"></div>
%   end
%   include('_narrowing.tpl')
  <button class="button">{{t("table.show")}}</button>
</form>
% include('_chips.tpl')
% for facet in page.facets:
<div class="facet"><h2 id="facet-{{facet.id}}">{{facet.title}}</h2>
  <ul aria-labelledby="facet-{{facet.id}}">
%   for one in facet.values:
    <li><a href="{{one.href}}"{{!' aria-current="true"' if one.active else ""}}><bdi>{{one.title}}</bdi> <span class="count">{{one.count}}</span></a></li>
%   end
%   if facet.more:
    <li class="count">{{facet.more}}</li>
%   end
  </ul></div>
% end
