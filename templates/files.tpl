<%
rebase('layout.tpl')
kinds = {ending: kind for kind, endings in {
    "image": "png jpg jpeg gif webp avif svg heic tif tiff bmp ico",
    "text": "pdf txt md doc docx odt rtf html htm epub",
    "sheet": "csv tsv xls xlsx ods",
    "slides": "ppt pptx odp",
    "media": "mp3 wav flac ogg m4a mp4 mov mkv webm avi",
    "archive": "zip gz tgz bz2 xz zst 7z rar tar",
    "code": "py js ts css json toml yaml yml xml sql sh go rs c h java",
}.items() for ending in endings.split()}
may_delete = any([entry.may_delete for entry in page.entries])
%>
% include('_crumbs.tpl')
<div class="head"><div><h1><bdi>{{page.title}}</bdi></h1>
% if page.note:
  <p class="note">{{page.note}}</p>
% end
</div></div>
% include('_uploaded.tpl')
% if page.may_create:
<form class="upload" method="post" action="{{page.action}}" enctype="multipart/form-data" data-drop>
%   include('_token.tpl')
  <div class="pick">
    <label for="upload">Add files</label>
    <input type="file" id="upload" name="file" multiple required data-most="{{page.most_bytes}}" data-most-said="{{page.most}}"
%   if page.accept:
      accept="{{page.accept}}" aria-describedby="upload-help"
%   end
    >
  </div>
%   if page.may_update:
  <div class="choice"><input type="checkbox" id="replace" name="_replace" value="1"><label for="replace">Replace files of the same name</label></div>
%   end
  <button class="button solid"><svg class="icon" aria-hidden="true"><use href="{{static('icon.svg')}}#upload"/></svg> Upload</button>
%   if page.accept:
  <p class="help" id="upload-help">Accepted here: {{page.accepted}}</p>
%   end
</form>
% end
% if page.entries:
<table class="listing">
  <caption class="visually-hidden">Files in {{page.title}}</caption>
  <thead><tr><th scope="col">Name</th><th scope="col" class="num">Size</th><th scope="col">Modified</th>
%   if may_delete:
    <th scope="col"><span class="visually-hidden">Actions</span></th>
%   end
  </tr></thead>
  <tbody>
%   for entry in page.entries:
%     kind = "folder" if entry.is_folder else kinds.get(entry.name.rpartition(".")[2].lower(), "file")
    <tr>
      <th scope="row"><a href="{{entry.href}}"><svg class="icon {{kind}}" aria-hidden="true"><use href="{{static('icon.svg')}}#{{kind}}"/></svg><bdi>{{entry.name}}</bdi><span class="visually-hidden">{{", folder" if entry.is_folder else ""}}</span></a></th>
      <td class="num">{{entry.size}}</td>
      <td class="when">\\
%       if entry.modified_iso:
<time datetime="{{entry.modified_iso}}">{{entry.modified}}</time>\\
%       end
</td>
%     if may_delete:
      <td class="act">
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
<p class="help">You can put files in here. You cannot see what is in this folder.</p>
% else:
<div class="empty">
  <p><strong>This folder is empty.</strong></p>
%   if page.may_create:
  <p>Choose files above to add the first ones.</p>
%   end
</div>
% end
% if page.count:
<div class="under"><p class="count">{{page.count}}</p></div>
% end
% if page.next_href:
<nav class="pager" aria-label="Pages"><a class="button" href="{{page.next_href}}" rel="next">More files</a></nav>
% end
