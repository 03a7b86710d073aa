% rebase('layout.tpl')
<div class="narrow">
<h1>{{t("saved.line_title")}}</h1>
<p>{{!t.html("saved.line_help", menu=t.tag("code", "menu"), site=t.tag("code", "[site]"), app=t.tag("code", "[apps.NAME]"))}}</p>
<p class="once"><code>{{page.line}}</code></p>
<p class="note">{{t("saved.line_who")}}</p>
<p><a href="{{page.back_href}}">{{t("saved.line_back")}}</a></p>
</div>
