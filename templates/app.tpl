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
<div class="{{'with-menu' if page.body and page.menu else ''}}">
% if page.menu:
<nav class="menu" aria-label="{{page.title}}">
  <ul class="{{'' if page.body else 'apps'}}">
%   for item in page.menu:
%     external = item.href.startswith("http")
    <li><a class="{{'' if page.body else 'card'}}" href="{{item.href}}"
%     if external:
      rel="noopener noreferrer"
%     end
      >
%     if item.icon:
      <span class="glyph" aria-hidden="true">{{item.icon}}</span>
%     end
      <bdi>{{item.title}}</bdi>
%     if external:
      <span class="away" aria-hidden="true">↗</span><span class="visually-hidden">(another site)</span>
%     end
    </a></li>
%   end
  </ul>
</nav>
% end
% if page.body:
<div class="prose">
{{!page.body}}
</div>
% elif not page.menu:
<div class="empty"><p>This application has no pages yet.</p></div>
% end
</div>
