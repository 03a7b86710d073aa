% rebase('layout.tpl')
<div class="head"><div><h1><bdi>{{page.title}}</bdi></h1>
% if page.note:
  <p class="note">{{page.note}}</p>
% end
</div>
% if page.folder_action or page.tools:
  <div class="tools">
%   for href, words in page.tools:
    <a class="button" href="{{href}}">{{words}}</a>
%   end
%   if page.folder_action:
    <details class="confirm" name="confirm"><summary class="button">{{t("files.folder")}}</summary>
      <form class="panel" method="post" action="{{page.folder_action}}">
%     include('_token.tpl')
        <div class="field"><label for="new-folder">{{t("files.folder_name")}}</label><input type="text" id="new-folder" name="name" required maxlength="255" autocomplete="off" dir="auto"></div>
        <button class="button solid">{{t("files.folder_make")}}</button>
      </form>
    </details>
%   end
  </div>
% end
</div>
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
%   include('_uploads.tpl')
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
%   if page.several:
%     include('_several.tpl', bar=page.several)
%   end
%   if any(head.href for head in page.heads):
<p class="sorts"><span>{{t("table.order")}}</span>
%     for head in page.heads:
  <a href="{{head.href}}"{{!' aria-current="true"' if head.sorted else ""}}>{{head.title}}<span class="way" aria-hidden="true">{{{"ascending": " ↑", "descending": " ↓"}.get(head.sorted, "")}}</span></a>
%     end
</p>
%   end
<table class="listing{{" ticked" if page.several else ""}}">
  <caption class="visually-hidden">{{t("files.caption", folder=page.title)}}</caption>
  <thead><tr>
%   if page.several:
    <th class="tick" scope="col"><span class="visually-hidden">{{t("several.column")}}</span></th>
%   end
%   for head in page.heads:
    <th scope="col"{{!' class="num"' if head.name == "size_bytes" else ""}}{{!f' aria-sort="{head.sorted}"' if head.sorted else ""}}>\\
%     if head.href:
<a href="{{head.href}}">{{head.title}}</a>\\
%     else:
{{head.title}}\\
%     end
</th>
%   end
    <th scope="col"><span class="visually-hidden">{{t("files.actions")}}</span></th>
  </tr></thead>
  <tbody>
%   for entry in page.entries:
    <tr>
%     if page.several:
      <td class="tick">\\
%       if entry.box:
<input type="checkbox" name="id" form="several" value="{{entry.box}}" aria-label="{{entry.name}}">\\
%       end
</td>
%     end
      <th scope="row">\\
%     if entry.is_seen:
<a href="{{entry.href}}"><svg class="icon {{entry.kind}}" aria-hidden="true"><use href="{{static('icon.svg')}}#{{entry.kind}}"/></svg><bdi>{{entry.name}}</bdi><span class="visually-hidden">{{t("files.is_folder") if entry.is_folder else ""}}</span></a>\\
%     else:
<span class="unseen"><svg class="icon" aria-hidden="true"><use href="{{static('icon.svg')}}#file"/></svg><bdi>{{entry.name}}</bdi></span>\\
%     end
</th>
      <td class="num">{{entry.size}}</td>
      <td class="when">\\
%       if entry.modified_iso:
<time datetime="{{entry.modified_iso}}">{{entry.modified}}</time>\\
%       end
</td>
      <td class="act">\\
%     if entry.menu:
<details class="confirm menu-of" name="confirm"><summary class="button" aria-label="{{t("files.menu", name=entry.name)}}"><span aria-hidden="true">⋯</span></summary><ul class="panel">
%       for what, href, words in entry.menu:
        <li><a class="{{what}}" href="{{href}}">{{words}}</a></li>
%       end
      </ul></details>\\
%     end
</td>
    </tr>
%   end
  </tbody>
</table>
% elif page.is_drop_box:
<p class="help">{{t("files.drop_box")}}</p>
%   if page.room and page.room.is_full:
<p class="notice bad" role="status">{{t("files.full")}}</p>
%   end
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
% if page.note_of_order:
<p class="note">{{page.note_of_order}}</p>
% end
% if page.entries:
%   include('_under.tpl')
% end
% if page.room:
<p class="room"><label for="room">{{page.room.text}}</label> <meter id="room" min="0" max="{{page.room.limit}}" high="{{page.room.high}}" value="{{min(page.room.used, page.room.limit)}}"></meter></p>
% end
% include('_readme.tpl', readme=getattr(page, 'readme', None))
