% # The search above a list that has no other filter.
<form class="filter" method="get" action="{{page.action}}" role="search">
  <div class="field search"><label for="table-search">{{t("table.search")}}</label><input type="search" id="table-search" name="_q" value="{{page.search or ''}}" dir="auto"></div>
  <button class="button">{{t("table.show")}}</button>
% if page.search:
  <a class="button" href="{{page.action}}">{{t("table.clear")}}</a>
% end
</form>
