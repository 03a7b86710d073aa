% rebase('layout.tpl')
% line = page.line
<div class="head">
  <div><h1><bdi>{{page.title}}</bdi></h1>
% if line.state:
    <p><span class="pill">{{line.state}}</span></p>
% end
  </div>
% if line.revoke_action:
  <div class="tools">
    <details class="confirm"><summary class="button danger">{{t("token.revoke")}}</summary>
      <form class="panel" method="post" action="{{line.revoke_action}}">
% include('_token.tpl')
        <p>{{!t.html("token.revoke_question", label=t.tag("strong", page.title))}}</p>
        <button class="button danger solid">{{t("token.revoke_button")}}</button>
      </form>
    </details>
  </div>
% end
</div>
<dl class="record">
  <div><dt>{{t("token.subject")}}</dt><dd><bdi>{{line.name + " (" + line.subject + ")" if line.name else line.subject}}</bdi></dd></div>
% for role, words in page.roles:
  <div><dt>{{!t.html("token.role", name=role)}}</dt><dd>{{words}}</dd></div>
% end
% if page.grants:
  <div><dt>{{t("token.may")}}</dt><dd><bdi>{{line.may}}</bdi><br><code>{{" ".join(page.grants)}}</code></dd></div>
% end
  <div><dt>{{t("token.used")}}</dt><dd>{{line.used_at or t("token.never")}}</dd></div>
  <div><dt>{{t("token.issued_at")}}</dt><dd>{{line.issued_at}}</dd></div>
  <div><dt>{{t("token.until_at")}}</dt><dd>{{line.expires_at}}</dd></div>
% if line.revoked_at:
  <div><dt>{{t("token.revoked_at")}}</dt><dd>{{line.revoked_at}}</dd></div>
% end
</dl>
<p class="back"><a href="{{url('admin/tokens')}}">{{t("tokens.back")}}</a></p>
