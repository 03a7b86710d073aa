% rebase('layout.tpl')
<div class="box">
<h1>{{page.title}}</h1>
<p>{{!t.html("invited.give", name=t.tag("strong", page.subject), n=page.days)}}</p>
<p class="once"><code><bdi>{{page.link}}</bdi></code></p>
% if page.mailed_to:
<p>{{!t.html("invited.mailed", email=page.mailed_to)}}</p>
% end
<div class="actions">
  <button class="button solid" type="button" data-copy="{{page.link}}" data-done="{{t("common.copied")}}" hidden>{{t("invited.copy")}}</button>
  <a class="button" href="{{url(page.person)}}">{{t("common.done")}}</a>
</div>
</div>
