% # The search above a list of the administration.
<form class="filter" method="get" action="{{page.action}}" role="search" data-tidy>
  <div class="field search"><label for="table-search">{{t("table.search")}}</label><input type="search" id="table-search" name="_q" value="{{page.search or ''}}" dir="auto"></div>
% include('_narrowing.tpl')
  <button class="button">{{t("table.show")}}</button>
</form>
% include('_chips.tpl')
