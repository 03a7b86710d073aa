% rebase('layout.tpl', title=t("errors.title", title=title) if page.errors else title)
<%
def field(name, label, kind, value, **attrs):
  wrong = page.errors.get(name, "")
%>
  <div class="field{{' wrong' if wrong else ''}}">
    <label for="me-{{name}}">{{label}}</label>
<%
  if wrong:
%>
    <p class="error" id="me-{{name}}-error">{{wrong}}</p>
<%
  end
%>
    <input type="{{kind}}" id="me-{{name}}" name="{{name}}" value="{{value}}"
<%
  for attr, text in attrs.items():
%>
      {{attr}}="{{text}}"
<%
  end
  if wrong:
%>
      aria-invalid="true" aria-describedby="me-{{name}}-error"
<%
  end
%>
    >
  </div>
<%
end
secret = {"required": "required", "autocapitalize": "none", "spellcheck": "false"}
%>
<div class="narrow">
<h1><bdi>{{page.name or page.subject}}</bdi></h1>
% if page.name or page.email:
<p class="note"><bdi>{{page.subject}}</bdi>\\
%   if page.email:
 · <bdi>{{page.email}}</bdi>\\
%   end
</p>
% end
<p>{{!t.html("me.rights", rights=page.rights)}}</p>
% if page.token:
<div class="notice good" role="status">
  <p>{{t("me.token_once")}}</p>
  <p class="once"><code>{{page.token}}</code></p>
</div>
% end
% if page.is_person:
<section>
<h2>{{t("me.profile")}}</h2>
<form class="form" method="post" action="{{page.action}}">
% include('_token.tpl')
  <input type="hidden" name="do" value="profile">
% field("name", t("me.name"), "text", page.sent_name, maxlength="200", autocomplete="name", dir="auto")
  <div class="field">
    <label for="me-lang">{{t("me.lang")}}</label>
    <select id="me-lang" name="lang">
      <option value="">{{t("me.lang_browser")}}</option>
%   for tag, words in page.langs:
      <option value="{{tag}}" lang="{{tag}}"{{" selected" if tag == page.lang else ""}}>{{words}}</option>
%   end
    </select>
  </div>
  <div class="field">
    <label for="me-timezone">{{t("me.timezone")}}</label>
    <p class="help" id="me-timezone-help">{{t("me.timezone_help", now=page.now)}}</p>
    <select id="me-timezone" name="timezone" aria-describedby="me-timezone-help">
      <option value="">{{t("me.timezone_site", zone=page.site_zone)}}</option>
%   for region, zones in page.zones:
      <optgroup label="{{region}}">
%     for name, words in zones:
        <option value="{{name}}"{{" selected" if name == page.timezone else ""}}>{{words}}</option>
%     end
      </optgroup>
%   end
    </select>
  </div>
  <div class="actions"><button class="button solid">{{t("me.save")}}</button></div>
</form>
</section>
<section>
<h2>{{t("me.password")}}</h2>
<p class="note">{{t("me.password_set") if page.has_password else t("me.password_none")}}</p>
<form class="form" method="post" action="{{page.action}}">
% include('_token.tpl')
  <input type="hidden" name="do" value="password">
  <input type="text" name="subject" autocomplete="username" value="{{page.subject}}" hidden>
% if page.asks_old:
%   field("old", t("me.password_old"), "password", "", autocomplete="current-password", **secret)
% end
% field("new", t("me.password_new"), "password", "", autocomplete="new-password", **secret)
% field("again", t("me.password_again"), "password", "", autocomplete="new-password", **secret)
  <div class="actions"><button class="button solid">{{t("me.password_change") if page.has_password else t("me.password_make")}}</button></div>
</form>
</section>
% end
% if page.drafts:
<section>
<h2>{{t("drafts.title")}}</h2>
%   include('_drafts.tpl', drafts=page.drafts, names_form=True)
</section>
% end
% if page.filters:
<section>
<h2>{{t("saved.title")}}</h2>
%   include('_filters.tpl', filters=page.filters)
</section>
% end
<section>
<h2>{{t("me.signed_in")}}</h2>
<ul class="plain">
% for one in page.sessions:
  <li>\\
%   if one.current:
<strong>{{t("me.here")}}</strong> \\
%   end
{{t("sessions.from", client=one.client) + ", " if one.client else ""}}{{t("me.since_seen", since=one.created_at, seen=one.used_at) if one.used_at else t("me.since", since=one.created_at)}}, {{t("sessions.until", at=one.expires_at)}}
%   if page.is_person and not one.current:
    <form method="post" action="{{page.action}}">
% include('_token.tpl')
      <input type="hidden" name="do" value="sign_out"><input type="hidden" name="id" value="{{one.id}}">
      <button class="button small" aria-label="{{t("me.end_label", since=one.created_at)}}">{{t("sessions.end")}}</button>
    </form>
%   end
  </li>
% end
</ul>
% if page.is_person and len(page.sessions) > 1:
<form method="post" action="{{page.action}}">
% include('_token.tpl')
  <input type="hidden" name="do" value="sign_out_others">
  <button class="button small">{{t("me.sign_out_others")}}</button>
</form>
% end
</section>
<section>
<h2>{{t("me.tokens")}}</h2>
<p class="note">{{t("me.tokens_help")}}</p>
% if page.tokens:
<ul class="plain">
%   for one in page.tokens:
  <li><bdi>{{one.label or t("me.no_label")}}</bdi> <span class="note">{{t("me.token_used", until=one.expires_at, used=one.used_at) if one.used_at else t("me.token_unused", until=one.expires_at)}}</span>
%     if page.is_person:
    <form method="post" action="{{page.action}}">
% include('_token.tpl')
      <input type="hidden" name="do" value="revoke"><input type="hidden" name="jti" value="{{one.jti}}">
      <button class="button small" aria-label="{{t("me.revoke_label", label=one.label) if one.label else t("me.revoke_unlabelled")}}">{{t("me.revoke")}}</button>
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
% field("label", t("me.token_label"), "text", "", maxlength="255", dir="auto")
  <div class="field"><label for="me-expires">{{t("me.token_expires")}}</label>
    <select id="me-expires" name="expires">
% for one in page.expires:
      <option value="{{one}}"{{" selected" if one == "90d" else ""}}>{{t("me.expires_" + one)}}</option>
% end
    </select></div>
  <div class="field field-checkbox"><div class="choice"><input type="checkbox" id="me-read" name="read_only" value="true"><label for="me-read">{{t("me.token_reads")}}</label></div></div>
  <div class="actions"><button class="button">{{t("me.token_make")}}</button></div>
</form>
% end
</section>
% if page.links:
<section>
<h2>{{t("links.mine")}}</h2>
%   include('_links.tpl', lines=page.links, action=page.action, do="end_link", named=True)
</section>
% end
</div>
