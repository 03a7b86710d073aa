% rebase('layout.tpl')
<div class="head">
  <div><h1>{{page.title}}</h1><p class="note">{{t("links.note")}}</p></div>
</div>
% include('_search.tpl')
% if page.lines:
<ul class="rows">
%   for line in page.lines:
  <li>
    <div class="main"><a href="{{line.href}}"><bdi>{{line.shown}}</bdi></a>
%     if line.takes_files:
      <span class="pill">{{t("links.may_create")}}</span>
%     end
%     if line.has_password:
      <span class="pill good">{{t("links.has_password")}}</span>
%     end
      <p class="note"><bdi>{{line.name or line.subject}}</bdi>\\
%     if line.name:
 · <bdi>{{line.subject}}</bdi>\\
%     end
</p></div>
    <p>{{t("links.used", n=line.uses, at=line.used_at) if line.used_at else t("links.unused")}}</p>
    <p class="note times">{{t("links.since", at=line.created_at)}}<br>{{t("links.until", at=line.expires_at) if line.expires_at else t("links.endless")}}</p>
    <div class="act">
%     if line.end_action:
      <form method="post" action="{{line.end_action}}">
% include('_token.tpl')
        <button class="button small" aria-label="{{t("links.end_label", name=line.shown, since=line.created_at)}}">{{t("sessions.end")}}</button>
      </form>
%     end
    </div>
  </li>
%   end
</ul>
% else:
<div class="empty"><p>{{page.empty}}</p></div>
% end
% include('_under.tpl')
