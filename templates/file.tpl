% rebase('layout.tpl')
<div class="head"><div><h1><svg class="icon {{page.kind}}" aria-hidden="true"><use href="{{static('icon.svg')}}#{{page.kind}}"/></svg> <bdi>{{page.name}}</bdi></h1></div>
  <div class="tools"><a class="button solid" href="{{page.open_href}}">{{t("files.open") if page.is_folder else t("files.download")}}</a></div>
</div>
<dl class="record">
% for title_of_fact, text in page.facts:
  <div><dt>{{title_of_fact}}</dt><dd><bdi>{{text}}</bdi></dd></div>
% end
  <div><dt>{{t("files.address")}}</dt><dd><code class="secret">{{page.address}}</code>
    <button class="button small" type="button" data-copy="{{page.address}}" data-done="{{t("common.copied")}}" hidden>{{t("links.copy")}}</button></dd></div>
</dl>
% if page.links:
<ul class="plain actions entry-actions">
%   for what, href, words in page.links:
  <li><a class="button {{"danger" if what == "delete" else ""}}" href="{{href}}">{{words}}</a></li>
%   end
</ul>
% end
<p><a href="{{page.back_href}}">{{t("several.back", name=page.crumbs[-2].title)}}</a></p>
