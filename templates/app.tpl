% rebase('layout.tpl')
<div class="head">
  <span class="tile" aria-hidden="true">{{page.icon or page.title[:1].upper()}}</span>
  <div>
    <h1><bdi>{{page.title}}</bdi></h1>
% if page.note:
    <p class="note">{{page.note}}</p>
% end
  </div>
</div>
% if page.body:
<div class="prose">
{{!page.body}}
</div>
% elif page.rows:
%   include('_blocks.tpl')
% elif page.menu:
<ul class="apps">
%   for item in page.menu:
%     external = item.href.startswith("http")
  <li><a class="card" href="{{item.href}}"
%     if external:
    rel="noopener noreferrer"
%     end
    >
%     if item.icon:
    <span class="glyph" aria-hidden="true">{{item.icon}}</span>
%     end
    <bdi>{{item.title}}</bdi>
%     if external:
    <span class="away" aria-hidden="true">↗</span><span class="visually-hidden">{{t("menu.elsewhere")}}</span>
%     end
  </a></li>
%   end
</ul>
% else:
<div class="empty"><p>{{t("app.empty")}}</p></div>
% end
