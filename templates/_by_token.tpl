% # Signing in by a token or a link that is pasted.
% failed = page.tried == "token"
<details
% if failed or len(page.ways) == 1:
  open
% end
>
<summary>{{t("login.by_token")}}</summary>
% include('_login_begins.tpl')
  <div class="field">
    <label for="token">{{t("login.token")}}</label>
    <p class="help" id="token-help">{{t("login.token_help")}}</p>
    <input type="password" id="token" name="token" required autocomplete="off" autocapitalize="none" spellcheck="false"
      % if failed:
      aria-invalid="true" aria-describedby="login-error token-help"
% else:
      aria-describedby="token-help"
% end
    >
  </div>
  <div class="actions"><button class="button">{{t("common.sign_in")}}</button></div>
</form>
</details>
