% rebase('layout.tpl')
<div class="head">
  <div><h1>{{page.title}}</h1>
    <p class="note">{{t("tokens.note")}}</p></div>
% if page.may_create:
  <div class="tools"><a class="button solid" href="{{page.new_href}}">{{t("tokens.new")}}</a></div>
% end
</div>
<form class="filter" method="get" action="{{page.action}}" role="search" data-tidy>
  <div class="field"><label for="f-subject">{{t("tokens.subject")}}</label><input type="text" id="f-subject" name="subject" value="{{page.subject}}" dir="auto"></div>
  <div class="field"><label for="f-state">{{t("tokens.state")}}</label>
    <select id="f-state" name="state">
% for name, words in page.states.items():
      <option value="{{name}}"{{" selected" if name == page.state else ""}}>{{words}}</option>
% end
    </select></div>
  <div class="field search"><label for="table-search">{{t("table.search")}}</label><input type="search" id="table-search" name="_q" value="{{page.search or ''}}" dir="auto"></div>
% include('_narrowing.tpl')
  <button class="button">{{t("table.show")}}</button>
</form>
% include('_chips.tpl')
% if page.all_action:
<details class="confirm"><summary class="button small danger">{{!t.html("tokens.revoke_all", subject=page.subject)}}</summary>
  <form class="panel" method="post" action="{{page.all_action}}">
% include('_token.tpl')
    <p>{{!t.html("tokens.revoke_all_question", subject=t.tag("strong", page.subject))}}</p>
    <button class="button danger solid">{{t("tokens.revoke_all_button")}}</button>
  </form>
</details>
% end
% if page.lines:
<ul class="rows">
%   for line in page.lines:
  <li>
    <div class="main"><a href="{{line.href}}"><bdi>{{line.label or t("token.unlabelled")}}</bdi></a>
%     if line.state:
      <span class="pill">{{line.state}}</span>
%     end
      <p class="note">{{!t.html("token.in_name_of", name=line.name or line.subject)}}\\
%     if line.name:
 (<bdi>{{line.subject}}</bdi>)\\
%     end
</p></div>
    <p class="may">\\
%     for role in line.roles:
<span class="pill">{{role}}</span> \\
%     end
<bdi>{{line.may}}</bdi></p>
    <p class="note times">{{t("token.last_used", at=line.used_at) if line.used_at else t("token.never_used")}}<br>{{t("token.revoked_on", at=line.revoked_at) if line.revoked_at else t("token.expired", at=line.expires_at) if line.state else t("token.until", at=line.expires_at)}}</p>
    <div class="act">
%     if line.revoke_action:
      <details class="confirm" name="confirm"><summary class="button small danger" aria-label="{{t("token.revoke_label", label=line.label or t("token.unlabelled"), subject=line.subject)}}">{{t("token.revoke")}}</summary>
        <form class="panel" method="post" action="{{line.revoke_action}}">
% include('_token.tpl')
          <p>{{!t.html("token.revoke_question", label=t.tag("strong", line.label or t("token.one")))}}</p>
          <button class="button danger solid">{{t("token.revoke_button")}}</button>
        </form>
      </details>
%     end
    </div>
  </li>
%   end
</ul>
% else:
<div class="empty"><p>{{page.empty if page.search or page.subject else t("tokens.none")}}</p></div>
% end
% include('_under.tpl')
