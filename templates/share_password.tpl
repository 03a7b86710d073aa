% rebase('layout.tpl', title=t("errors.title", title=title) if page.error else title)
<div class="box">
<h1>{{title}}</h1>
% if page.error:
<div class="notice bad" role="alert" id="share-error"><p>{{page.error}}</p></div>
% end
<form class="form" method="post" action="{{page.action}}">
  <div class="field">
    <label for="share-password">{{t("login.password")}}</label>
    <input type="password" id="share-password" name="password" required autofocus autocomplete="off" autocapitalize="none" spellcheck="false"
% if page.error:
      aria-invalid="true" aria-describedby="share-error"
% end
    >
  </div>
  <div class="actions"><button class="button solid">{{t("links.open")}}</button></div>
</form>
<p class="note">{{t("links.ask")}}</p>
</div>
