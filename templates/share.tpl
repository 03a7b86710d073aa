<%
rebase('layout.tpl', title=t("errors.title", title=title) if page.errors else title)
chosen = page.sent.get("expires") or "7d"
%>
<div class="narrow">
<h1>{{page.title}}</h1>
% if page.url:
<div class="notice good" role="status">
  <p>{{t("links.once_until", at=page.until) if page.until else t("links.once_calendar")}}</p>
  <p class="once"><code>{{page.url}}</code></p>
  <p class="actions"><button class="button solid" type="button" data-copy="{{page.url}}" data-done="{{t("common.copied")}}" hidden>{{t("links.copy")}}</button></p>
</div>
% end
<p>{{t("links.help")}}</p>
% if page.narrowed:
<p class="note">{{t("links.narrowed")}}</p>
% end
<form class="form" method="post" action="{{page.action}}">
% include('_token.tpl')
  <input type="hidden" name="do" value="make">
% if page.actions:
  <fieldset class="field"><legend>{{t("links.may")}}</legend>
%   for number, (value, words) in enumerate(page.actions):
    <div class="choice"><input type="radio" id="share-action-{{value}}" name="action" value="{{value}}"{{" checked" if value == page.sent.get("action", page.actions[0][0]) else ""}}><label for="share-action-{{value}}">{{words}}</label></div>
%   end
  </fieldset>
% end
  <div class="field"><label for="share-expires">{{t("links.expires")}}</label>
    <select id="share-expires" name="expires">
% for value, words in page.expires:
      <option value="{{value}}"{{" selected" if value == chosen else ""}}>{{words}}</option>
% end
    </select></div>
  <div class="field"><label for="share-until">{{t("links.until_day")}}</label>
% if page.errors.get("expires"):
    <p class="error" id="share-until-error">{{page.errors["expires"]}}</p>
% end
    <input type="date" id="share-until" name="until" value="{{page.sent.get("until", "")}}"
% if page.errors.get("expires"):
      aria-invalid="true" aria-describedby="share-until-error"
% end
    ></div>
  <div class="field"><label for="share-password">{{t("links.password")}}</label>
    <p class="help" id="share-password-help">{{t("links.password_help")}}</p>
% if page.errors.get("password"):
    <p class="error" id="share-password-error">{{page.errors["password"]}}</p>
% end
    <input type="text" id="share-password" name="password" value="{{page.sent.get("password", "")}}" autocomplete="off" autocapitalize="none" spellcheck="false"
      aria-describedby="share-password-help{{" share-password-error" if page.errors.get("password") else ""}}"
% if page.errors.get("password"):
      aria-invalid="true"
% end
    ></div>
  <div class="actions"><button class="button solid">{{t("links.make")}}</button> <a class="button" href="{{page.back_href}}">{{t("common.done")}}</a></div>
</form>
% if page.has_calendar:
<section id="calendar">
<h2>{{t("links.calendar")}}</h2>
<p class="note">{{t("links.calendar_help")}}</p>
<form method="post" action="{{page.action}}">
% include('_token.tpl')
  <input type="hidden" name="do" value="subscribe">
  <button class="button">{{t("links.subscribe")}}</button>
</form>
</section>
% end
% if page.lines:
<section>
<h2>{{t("links.yours")}}</h2>
%   include('_links.tpl', lines=page.lines, action=page.action, do="end", named=False)
</section>
% end
</div>
