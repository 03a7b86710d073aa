% rebase('layout.tpl')
<div class="head"><h1><bdi>{{page.title}}</bdi></h1></div>
% if page.alert:
<div class="notice bad" role="alert"><p>{{page.alert}}</p></div>
% end
% if page.theirs:
<h2 id="theirs">{{t("app_pages.theirs")}}</h2>
<pre class="theirs" tabindex="0" aria-labelledby="theirs">{{page.theirs}}</pre>
% end
<form class="form" method="post" action="{{page.action}}">
% include('_token.tpl')
% if page.is_new:
  <div class="field">
    <label for="title">{{t("app_pages.title_label")}}</label>
    <input id="title" name="title" value="{{page.name}}" maxlength="200" required dir="auto">
  </div>
% end
  <div class="field">
    <label for="text">{{t("app_pages.yours") if page.theirs else t("app_pages.text")}}</label>
    <p class="help" id="text-help">{{t("app_pages.help")}}</p>
    <textarea id="text" name="text" rows="20" maxlength="{{page.most}}" aria-describedby="text-help" dir="auto" spellcheck="true">
{{page.text}}</textarea>
  </div>
  <div class="actions">
    <button class="button solid">{{t("app_pages.save")}}</button>
    <a class="button" href="{{page.cancel_href}}">{{t("form.cancel")}}</a>
  </div>
</form>
