% rebase('layout.tpl')
<div class="box">
<h1>{{title}}</h1>
<p>{{t("login.out_here")}}</p>
<p><a class="button" href="{{page.href}}">{{t("login.out_there")}}</a></p>
</div>
