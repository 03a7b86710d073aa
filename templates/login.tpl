% rebase('layout.tpl', title=("Error: " if page.error else "") + title)
<div class="box">
<h1>Sign in</h1>
% if page.error:
<div class="notice bad" role="alert" id="login-error"><p>{{page.error}}</p></div>
% end
% if page.kept:
<div class="notice" role="status"><p>You have to sign in to send this. {{"Nothing you typed is lost" if getattr(page.kept, "is_whole", True) else "What could be read is kept"}}: \\
%   if page.kept.is_short:
it is in the form again once you have signed in.</p></div>
%   else:
sign in in another tab, then press Continue below.</p></div>
%   end
% end
% if page.code:
%   include('_login_begins.tpl')
  <input type="hidden" name="code" value="{{page.code}}">
  <p>Your sign-in link is ready. It works once.</p>
  <div class="actions"><button class="button solid" autofocus>Sign in</button></div>
</form>
% else:
%   for way in page.ways:
%     include(f'_by_{way.kind}.tpl', way=way)
%   end
%   if not page.ways:
<p>Open the sign-in link that you were given.</p>
%   end
% end
% if page.kept:
%   include('_kept.tpl', kept=page.kept, lead="Signed in by a link in another tab? Go on here.", label="Continue")
% end
<p class="note">{{"Forgot the password, or never had one? Ask " if any(way.kind == "password" for way in page.ways) and not page.code else "No way to sign in? Ask "}}<bdi>{{contact or "whoever runs this site"}}</bdi>\\
% if not page.code:
 for a new link\\
% end
.</p>
</div>
