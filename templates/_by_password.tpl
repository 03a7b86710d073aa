% # Signing in by a name and a password.
% failed = page.tried == "password"
% include('_login_begins.tpl')
  <div class="field">
    <label for="login-subject">Name</label>
    <input type="text" id="login-subject" name="subject" value="{{page.subject}}" required autocomplete="username" autocapitalize="none" spellcheck="false" dir="auto">
  </div>
  <div class="field">
    <label for="login-password">Password</label>
    <input type="password" id="login-password" name="password" required autocomplete="current-password" autocapitalize="none" spellcheck="false"
% if failed:
      aria-invalid="true" aria-describedby="login-error"
% end
    >
  </div>
  <div class="actions"><button class="button solid">Sign in</button></div>
</form>
