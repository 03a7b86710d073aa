% # Signing in with an account elsewhere. Wants: way, with title and is_away.
% href = url('login/oidc', after=page.after or None)
% if way.is_away:
<p class="way" role="status">{{!t.html("login.away", title=way.title)}} <a href="{{href}}">{{t("common.try_again")}}</a></p>
% else:
<p class="way"><a class="button {{'solid' if page.ways[0] is way else ''}}" href="{{href}}"
%   if page.kept:
  target="_blank"
%   end
>{{!t.html("login.with", title=way.title)}}</a></p>
% end
