% rebase('layout.tpl')
<div class="box">
<h1>{{title}}</h1>
<p>{{t("login_mail.sent")}}</p>
<p class="note">{{!t.html("login_mail.nothing", contact=contact or t("common.operator"))}}</p>
% if page.kept:
%   include('_kept.tpl', kept=page.kept, lead=t("login_mail.kept"), label=t("login_mail.go_on"))
% else:
<p class="actions"><a class="button" href="{{url('login', after=page.after or None)}}">{{t("login_mail.again")}}</a></p>
% end
</div>
