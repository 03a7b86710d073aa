% rebase('layout.tpl')
<div class="narrow">
<div class="head">
  <div>
    <h1><bdi>{{page.called}}</bdi></h1>
    <p class="note">{{t("comments.title")}}</p>
  </div>
</div>
% include('_comments.tpl', thread=page.thread)
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
<p class="back"><a href="{{page.back_href}}">{{t("history.back")}}</a></p>
</div>
