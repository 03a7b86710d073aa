% # Signing in by a link that is mailed.
% failed = page.tried == "mail"
% include('_login_begins.tpl', action='login/mail')
  <div class="field">
    <label for="login-email">{{t("login_mail.label")}}</label>
    <p class="help" id="login-email-help">{{t("login_mail.help")}}</p>
    <input type="email" id="login-email" name="email" value="{{way.email}}" required autocomplete="email" autocapitalize="none" spellcheck="false"
% if failed:
      aria-invalid="true" aria-describedby="login-error login-email-help"
% else:
      aria-describedby="login-email-help"
% end
    >
  </div>
  <div class="actions"><button class="button {{'solid' if page.ways[0].kind == 'mail' else ''}}">{{t("login_mail.button")}}</button></div>
</form>
