% rebase('layout.tpl', title=t("errors.title", title=title) if page.error else title)
<div class="box">
<h1>{{title}}</h1>
% if page.error:
<div class="notice bad" role="alert" id="login-error"><p>{{page.error}}</p></div>
% end
% if page.kept:
<div class="notice" role="status"><p>{{t("login.kept_whole") if getattr(page.kept, "is_whole", True) else t("login.kept_part")}}
  {{t("login.kept_carried") if page.kept.is_short else t("login.kept_waits")}}</p></div>
% end
% if page.code:
%   include('_login_begins.tpl')
  <input type="hidden" name="code" value="{{page.code}}">
  <p>{{t("login.link_ready")}}</p>
  <div class="actions"><button class="button solid" autofocus>{{t("common.sign_in")}}</button></div>
</form>
% else:
%   for way in page.ways:
%     include(f'_by_{way.kind}.tpl', way=way)
%   end
%   if not page.ways:
<p>{{t("login.only_links")}}</p>
%   end
% end
% if page.kept:
%   include('_kept.tpl', kept=page.kept, lead=t("login.kept_lead"), label=t("login.go_on"))
% end
% asked = contact or t("common.somebody")
% if page.code:
<p class="note">{{!t.html("login.ask", contact=asked)}}</p>
% elif any(way.kind == "password" for way in page.ways):
<p class="note">{{!t.html("login.ask_password", contact=asked)}}</p>
% else:
<p class="note">{{!t.html("login.ask_link", contact=asked)}}</p>
% end
</div>
