% rebase('layout.tpl', title=("Error: " if page.errors else "") + title)
<div class="narrow">
<h1><bdi>{{page.name or page.subject}}</bdi></h1>
% if page.name or page.email:
<p class="note"><bdi>{{page.subject}}</bdi>\\
%   if page.email:
 · <bdi>{{page.email}}</bdi>\\
%   end
</p>
% end
<p>You may: <bdi>{{page.rights}}</bdi>.</p>
% if page.token:
<div class="notice good" role="status">
  <p>Your new token is shown only now. Programs send it in place of a password:</p>
  <p class="once"><code>{{page.token}}</code></p>
</div>
% end
% if page.is_person:
<section>
<h2>Password</h2>
<p class="note">{{"You sign in with your name and your password." if page.has_password else "Set a password, and you can sign in without a link."}}</p>
<form class="form" method="post" action="{{page.action}}">
% include('_token.tpl')
  <input type="hidden" name="do" value="password">
  <input type="text" name="subject" autocomplete="username" value="{{page.subject}}" hidden>
% fields = [("new", "New password", "new-password"), ("again", "The same once more", "new-password")]
% if page.asks_old:
%   fields.insert(0, ("old", "Password until now", "current-password"))
% end
% for name, label, complete in fields:
%   wrong = page.errors.get(name, "")
  <div class="field{{' wrong' if wrong else ''}}">
    <label for="me-{{name}}">{{label}}</label>
%   if wrong:
    <p class="error" id="me-{{name}}-error">{{wrong}}</p>
%   end
    <input type="password" id="me-{{name}}" name="{{name}}" required autocomplete="{{complete}}" autocapitalize="none" spellcheck="false"
%   if wrong:
      aria-invalid="true" aria-describedby="me-{{name}}-error"
%   end
    >
  </div>
% end
  <div class="actions"><button class="button solid">{{"Change the password" if page.has_password else "Set the password"}}</button></div>
</form>
</section>
% end
<section>
<h2>Signed in</h2>
<ul class="plain">
% for one in page.sessions:
  <li>{{"here, " if one.current else ""}}since {{one.created_at}}{{", last seen " + one.used_at if one.used_at else ""}}</li>
% end
</ul>
% if page.is_person and len(page.sessions) > 1:
<form method="post" action="{{page.action}}">
% include('_token.tpl')
  <input type="hidden" name="do" value="sign_out_others">
  <button class="button small">Sign out everywhere else</button>
</form>
% end
</section>
<section>
<h2>Tokens</h2>
<p class="note">For curl, scripts and other programs that work in your name, and never do more than you may.</p>
% if page.tokens:
<ul class="plain">
%   for one in page.tokens:
  <li><bdi>{{one.label or "without a label"}}</bdi> <span class="note">until {{one.expires_at}}{{", last used " + one.used_at if one.used_at else ", never used"}}</span>
%     if page.is_person:
    <form method="post" action="{{page.action}}">
% include('_token.tpl')
      <input type="hidden" name="do" value="revoke"><input type="hidden" name="jti" value="{{one.jti}}">
      <button class="button small" aria-label="Revoke {{one.label or 'the token without a label'}}">Revoke</button>
    </form>
%     end
  </li>
%   end
</ul>
% end
% if page.is_person:
<form class="form" method="post" action="{{page.action}}">
% include('_token.tpl')
  <input type="hidden" name="do" value="make_token">
  <div class="field"><label for="me-label">What it is for</label><input type="text" id="me-label" name="label" maxlength="255" dir="auto"></div>
  <div class="field"><label for="me-expires">How long it works</label>
    <select id="me-expires" name="expires">
% for one in page.expires:
      <option value="{{one}}"{{" selected" if one == "90d" else ""}}>{{{"30d": "30 days", "90d": "90 days", "1y": "1 year"}[one]}}</option>
% end
    </select></div>
  <div class="field field-checkbox"><div class="choice"><input type="checkbox" id="me-read" name="read_only" value="true"><label for="me-read">It only reads</label></div></div>
  <div class="actions"><button class="button">Make a token</button></div>
</form>
% end
</section>
</div>
