% rebase('layout.tpl')
<article class="page">
<div class="head">
  <h1><bdi>{{page.title}}</bdi></h1>
% if page.edit_href:
  <div class="tools"><a class="button" href="{{page.edit_href}}">{{t("app_pages.edit")}}</a></div>
% end
</div>
<div class="prose">
{{!page.body}}
</div>
</article>
