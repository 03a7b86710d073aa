% rebase('layout.tpl', title=("Error: " if page.error else "") + title)
<%
carried = page.kept and page.kept.is_short
by_password = page.subject is not None
def begins():
%>
<form class="form" method="post" action="{{url('login')}}"
<%
  if carried:
%>
  enctype="multipart/form-data"
<%
  end
%>
>
<%
  if carried:
%>
  <input type="hidden" name="draft" value="{{page.kept.text}}">
<%
  end
  if page.after:
%>
  <input type="hidden" name="after" value="{{page.after}}">
<%
  end
end
%>
<div class="box">
<h1>Sign in</h1>
% if page.error:
<div class="notice bad" role="alert" id="login-error"><p>{{page.error}}</p></div>
% end
% if page.kept:
<div class="notice" role="status"><p>You have to sign in to send this. {{"Nothing you typed is lost" if getattr(page.kept, "is_whole", True) else "What could be read is kept"}}: \\
%   if carried:
it is in the form again once you have signed in.</p></div>
%   else:
sign in in another tab, then press Continue below.</p></div>
%   end
% end
% if page.code:
% begins()
% include('_token.tpl')
  <input type="hidden" name="code" value="{{page.code}}">
  <p>Your sign-in link is ready. It works once.</p>
  <div class="actions"><button class="button solid" autofocus>Sign in</button></div>
</form>
% else:
% begins()
% include('_token.tpl')
  <div class="field">
    <label for="login-subject">Name</label>
    <input type="text" id="login-subject" name="subject" value="{{page.subject or ''}}" required autocomplete="username" autocapitalize="none" spellcheck="false" dir="auto">
  </div>
  <div class="field">
    <label for="login-password">Password</label>
    <input type="password" id="login-password" name="password" required autocomplete="current-password" autocapitalize="none" spellcheck="false"
%   if by_password:
      aria-invalid="true" aria-describedby="login-error"
%   end
    >
  </div>
  <div class="actions"><button class="button solid">Sign in</button></div>
</form>
<details
%   if page.error and not by_password:
  open
%   end
>
<summary>Sign in with a link or a token</summary>
% begins()
% include('_token.tpl')
  <div class="field">
    <label for="token">Link or token</label>
    <p class="help" id="token-help">Paste the token or the sign-in link that you were given.</p>
    <input type="password" id="token" name="token" required autocomplete="off" autocapitalize="none" spellcheck="false"
      aria-describedby="{{'login-error ' if page.error and not by_password else ''}}token-help"
%   if page.error and not by_password:
      aria-invalid="true"
%   end
    >
  </div>
  <div class="actions"><button class="button">Sign in</button></div>
</form>
</details>
% end
% if page.kept:
%   include('_kept.tpl', kept=page.kept, lead="Signed in by a link in another tab? Go on here.", label="Continue")
% end
<p class="note">{{"Forgot the password, or never had one? Ask " if not page.code else "No way to sign in? Ask "}}<bdi>{{contact or "whoever runs this site"}}</bdi>\\
% if not page.code:
 for a new link\\
% end
.</p>
</div>
