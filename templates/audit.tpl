% rebase('layout.tpl')
<div class="head"><h1>{{page.title}}</h1></div>
% include('_errors.tpl')
% if page.saved:
%   include('_saved.tpl', saved=page.saved)
% end
<form class="filter many" method="get" action="{{page.action}}" role="search" data-tidy>
%   for field in page.params:
%     include('_field.tpl', field=field)
%   end
  <div class="field search"><label for="table-search">{{t("table.search")}}</label><input type="search" id="table-search" name="_q" value="{{page.search or ''}}" dir="auto"></div>
% include('_narrowing.tpl')
  <button class="button">{{t("table.show")}}</button>
</form>
% include('_chips.tpl')
% if page.lines:
<ol class="events">
%   for line in page.lines:
  <li>
    <span class="when">{{line.at}}</span>
    <span class="what"><bdi class="by">{{line.who}}</bdi> <a href="{{line.href}}"><bdi>{{line.what}}</bdi></a>
%     if line.more:
      <span class="note">{{t("audit.more", n=line.more)}}</span>
%     end
%     if line.outcome:
      <span class="pill {{line.outcome}}">{{line.outcome_words}}</span>
%     end
    </span>
  </li>
%   end
</ol>
% else:
<div class="empty"><p>{{page.empty}}</p></div>
% end
% include('_under.tpl')
