% # Signing in by a token or a link that is pasted.
% failed = page.tried == "token"
<details
% if failed or len(page.ways) == 1:
  open
% end
>
<summary>Sign in with a link or a token</summary>
% include('_login_begins.tpl')
  <div class="field">
    <label for="token">Link or token</label>
    <p class="help" id="token-help">Paste the token or the sign-in link that you were given.</p>
    <input type="password" id="token" name="token" required autocomplete="off" autocapitalize="none" spellcheck="false"
      aria-describedby="{{'login-error ' if failed else ''}}token-help"
% if failed:
      aria-invalid="true"
% end
    >
  </div>
  <div class="actions"><button class="button">Sign in</button></div>
</form>
</details>
