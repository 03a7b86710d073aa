% # Signing in by a name and a password.
% failed = page.tried == "password"
% include('_login_begins.tpl')
  <div class="field">
    <label for="login-subject">{{t("login.name")}}</label>
    <input type="text" id="login-subject" name="subject" value="{{page.subject}}" required autocomplete="username" autocapitalize="none" spellcheck="false" dir="auto">
  </div>
  <div class="field">
    <label for="login-password">{{t("login.password")}}</label>
    <input type="password" id="login-password" name="password" required autocomplete="current-password" autocapitalize="none" spellcheck="false"
% if failed:
      aria-invalid="true" aria-describedby="login-error"
% end
    >
  </div>
  <div class="actions"><button class="button {{'solid' if page.ways[0] is way else ''}}">{{t("common.sign_in")}}</button></div>
</form>
