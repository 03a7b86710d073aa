% rebase('layout.tpl', title=("Error: " if page.error else "") + title)
<div class="box">
<h1>Sign in</h1>
% if page.error:
<div class="notice bad" role="alert" id="login-error"><p>{{page.error}}</p></div>
% end
% carried = page.kept and page.kept.is_short
% if page.kept:
<div class="notice" role="status"><p>You have to sign in to send this. {{"Nothing you typed is lost" if getattr(page.kept, "is_whole", True) else "What could be read is kept"}}: \\
%   if carried:
it is in the form again once you have signed in.</p></div>
%   else:
sign in in another tab, then press Continue below.</p></div>
%   end
% end
<form class="form" method="post" action="{{url('login')}}"
% if carried:
  enctype="multipart/form-data"
% end
>
% include('_token.tpl')
% if carried:
  <input type="hidden" name="draft" value="{{page.kept.text}}">
% end
% if page.after:
  <input type="hidden" name="after" value="{{page.after}}">
% end
% if page.code:
  <input type="hidden" name="code" value="{{page.code}}">
  <p>Your sign-in link is ready. It works once.</p>
  <div class="actions"><button class="button solid" autofocus>Sign in</button></div>
% else:
  <div class="field">
    <label for="token">Token</label>
    <p class="help" id="token-help">Paste the token or the sign-in link that you were given.</p>
    <input type="text" autocomplete="username" value="{{site}}" hidden>
    <input type="password" id="token" name="token" required autocomplete="current-password" autocapitalize="none" spellcheck="false"
      aria-describedby="{{'login-error ' if page.error else ''}}token-help"
%   if page.error:
      aria-invalid="true"
%   end
    >
  </div>
  <div class="actions"><button class="button solid">Sign in</button></div>
% end
</form>
% if page.kept:
%   include('_kept.tpl', kept=page.kept, lead="Signed in by a link in another tab? Go on here.", label="Continue")
% end
% if contact:
<p class="note">No way to sign in? Ask <bdi>{{contact}}</bdi>.</p>
% end
</div>
