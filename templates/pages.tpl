% rebase('layout.tpl')
<div class="head">
  <h1>{{page.title}}</h1>
% if page.new_href:
  <div class="tools"><a class="button solid" href="{{page.new_href}}">{{t("app_pages.new")}}</a></div>
% end
</div>
% if page.items:
<ul class="links">
%   for item in page.items:
  <li><a href="{{item.href}}"><strong><bdi>{{item.title}}</bdi></strong></a></li>
%   end
</ul>
% else:
<div class="empty"><p>{{t("app_pages.none")}}</p></div>
% end
