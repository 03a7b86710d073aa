% # Signing in by a proxy in front of the site. Wants: way, with name and is_known.
% if way.is_known:
<p class="way">{{!t.html("login.proxy_known", name=way.name)}}
  <a href="{{url('login/proxy', after=page.after or None)}}">{{t("login.go_on")}}</a></p>
% elif way.name:
<p class="way">{{!t.html("login.proxy_unknown", name=way.name)}}</p>
% else:
<p class="way">{{t("login.proxy")}}</p>
% end
