% rebase('layout.tpl')
<div class="head"><div>
% if page.trail:
  <p class="note">\\
%   for name, href in page.trail:
<a href="{{href}}"><bdi>{{name}}</bdi></a> / \\
%   end
</p>
% end
  <h1><bdi>{{page.title}}</bdi></h1>
</div>
% if page.zip_href:
<p class="actions"><a class="button" href="{{page.zip_href}}">{{t("links.all_as_zip")}}</a></p>
% end
</div>
% if page.search or page.next_href:
<form class="filter" method="get" action="{{page.here}}" role="search" aria-label="{{page.title}}">
  <div class="field search"><label for="names">{{t("files.search")}}</label><input type="search" id="names" name="_q" value="{{page.search}}" dir="auto"></div>
  <button class="button">{{t("table.show")}}</button>
%   if page.search:
  <a class="button" href="{{page.here}}">{{t("table.clear")}}</a>
%   end
</form>
% end
% if page.entries:
<table class="listing">
  <caption class="visually-hidden">{{t("files.caption", folder=page.title)}}</caption>
  <thead><tr><th scope="col">{{t("files.name")}}</th><th scope="col" class="num">{{t("files.size")}}</th><th scope="col">{{t("files.modified")}}</th></tr></thead>
  <tbody>
%   for entry in page.entries:
    <tr>
      <th scope="row">\\
%     if entry.href:
<a href="{{entry.href}}"><svg class="icon {{entry.kind}}" aria-hidden="true"><use href="{{static('icon.svg')}}#{{entry.kind}}"/></svg><bdi>{{entry.name}}</bdi><span class="visually-hidden">{{t("files.is_folder") if entry.is_folder else ""}}</span></a>\\
%     else:
<bdi>{{entry.name}}</bdi>\\
%     end
</th>
      <td class="num">{{entry.size}}</td>
      <td class="when">\\
%     if entry.modified_iso:
<time datetime="{{entry.modified_iso}}">{{entry.modified}}</time>\\
%     end
</td>
    </tr>
%   end
  </tbody>
</table>
% else:
<div class="empty"><p>{{page.empty}}</p></div>
% end
% if page.next_href:
<nav class="pager" aria-label="{{t("table.pages")}}"><a class="button small" href="{{page.next_href}}" rel="next">{{t("table.next")}}</a></nav>
% end
% include('_readme.tpl', readme=page.readme)
