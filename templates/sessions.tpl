% rebase('layout.tpl')
<div class="head">
  <div><h1>{{page.title}}</h1><p class="note">{{t("sessions.note")}}</p></div>
</div>
% include('_search.tpl')
% if page.lines:
<ul class="rows">
%   for line in page.lines:
  <li>
    <div class="main"><bdi>{{line.name or line.subject}}</bdi>
%     if line.own:
      <span class="pill good">{{t("sessions.own")}}</span>
%     end
      <p class="note">\\
%     if line.name:
<bdi>{{line.subject}}</bdi>\\
%     end
{{" " + t("sessions.by_token") if line.is_token else ""}}</p></div>
    <p>{{t("sessions.from", client=line.client) if line.client else ""}}</p>
    <p class="note times">{{t("sessions.since_seen", since=line.created_at, seen=line.used_at) if line.used_at else t("sessions.since", since=line.created_at)}}<br>{{t("sessions.until", at=line.expires_at)}}</p>
    <div class="act">
%     if line.end_action:
      <form method="post" action="{{line.end_action}}">
% include('_token.tpl')
        <button class="button small" aria-label="{{t("sessions.end_label", subject=line.subject, since=line.created_at)}}">{{t("sessions.end")}}</button>
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
