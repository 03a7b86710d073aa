% rebase('layout.tpl')
% may_act = any([entry.may_delete or entry.share_href for entry in page.entries])
<div class="head"><div><h1><bdi>{{page.title}}</bdi></h1>
% if page.note:
  <p class="note">{{page.note}}</p>
% end
</div></div>
% include('_uploaded.tpl')
% if page.may_create and not page.search:
<form class="upload" method="post" action="{{page.action}}" enctype="multipart/form-data" data-drop>
%   include('_token.tpl')
  <div class="pick">
    <label for="upload">{{t("files.add")}}</label>
    <input type="file" id="upload" name="file" multiple required data-most="{{page.most_bytes}}" data-most-said="{{page.most}}" data-too-large="{{t("files.too_large")}}"
%   if page.accept:
      accept="{{page.accept}}" aria-describedby="upload-help"
%   end
    >
  </div>
%   if page.may_update:
  <div class="choice"><input type="checkbox" id="replace" name="_replace" value="1"><label for="replace">{{t("files.replace")}}</label></div>
%   end
  <button class="button solid"><svg class="icon" aria-hidden="true"><use href="{{static('icon.svg')}}#upload"/></svg> {{t("files.upload")}}</button>
%   if page.accept:
  <p class="help" id="upload-help">{{!t.html("files.accepted", kinds=page.accepted)}}</p>
%   end
</form>
% end
% if page.search or (page.search is not None and page.entries):
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
  <thead><tr><th scope="col">{{t("files.name")}}</th><th scope="col" class="num">{{t("files.size")}}</th><th scope="col">{{t("files.modified")}}</th>
%   if may_act:
    <th scope="col"><span class="visually-hidden">{{t("files.actions")}}</span></th>
%   end
  </tr></thead>
  <tbody>
%   for entry in page.entries:
    <tr>
      <th scope="row"><a href="{{entry.href}}"><svg class="icon {{entry.kind}}" aria-hidden="true"><use href="{{static('icon.svg')}}#{{entry.kind}}"/></svg><bdi>{{entry.name}}</bdi><span class="visually-hidden">{{t("files.is_folder") if entry.is_folder else ""}}</span></a></th>
      <td class="num">{{entry.size}}</td>
      <td class="when">\\
%       if entry.modified_iso:
<time datetime="{{entry.modified_iso}}">{{entry.modified}}</time>\\
%       end
</td>
%     if may_act:
      <td class="act">
%       if entry.share_href:
        <a class="button share" href="{{entry.share_href}}" aria-label="{{t("links.share", name=entry.name)}}"><svg class="icon" aria-hidden="true"><use href="{{static('icon.svg')}}#share"/></svg></a>
%       end
%       if entry.may_delete:
%         include('_delete.tpl', action=entry.delete_href, what=entry.name)
%       end
      </td>
%     end
    </tr>
%   end
  </tbody>
</table>
% elif page.is_drop_box:
<p class="help">{{t("files.drop_box")}}</p>
% elif page.search:
<div class="empty"><p>{{t("table.nothing_fits")}}</p></div>
% else:
<div class="empty">
  <p><strong>{{t("files.empty")}}</strong></p>
%   if page.may_create:
  <p>{{t("files.first")}}</p>
%   end
</div>
% end
% if page.count:
<div class="under"><p class="count">{{page.count}}</p></div>
% end
% if page.next_href:
<nav class="pager" aria-label="{{t("table.pages")}}"><a class="button" href="{{page.next_href}}" rel="next">{{t("files.more")}}</a></nav>
% end
