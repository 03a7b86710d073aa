% rebase('layout.tpl')
<div class="head"><div><h1>{{title}}</h1></div></div>
<form class="kept-versions" method="post" action="{{page.action}}">
% include('_token.tpl')
<div class="scroll" role="region" aria-labelledby="versions" tabindex="0">
<table class="data kept-list">
  <caption id="versions" class="visually-hidden">{{title}}</caption>
  <thead><tr>
    <th scope="col">{{t("versions.at")}}</th><th scope="col" class="num">{{t("files.size")}}</th>
    <th scope="col"><span class="visually-hidden">{{t("files.actions")}}</span></th>
    <th scope="col">{{t("versions.replaced")}}</th><th scope="col">{{t("versions.by")}}</th>
  </tr></thead>
  <tbody>
% if page.present:
    <tr><th scope="row">{{page.present.at}} <span class="pill good">{{t("versions.present")}}</span></th>
      <td class="num" data-of="{{t("files.size")}}">{{page.present.size}}</td>
      <td class="does"><a class="button small" href="{{page.present.href}}" download aria-label="{{t("versions.download_label", at=page.present.at)}}">{{t("files.download")}}</a></td>
      <td></td><td></td></tr>
% end
% for one in page.rows:
    <tr><th scope="row">{{one.at}}</th><td class="num" data-of="{{t("files.size")}}">{{one.size}}</td>
      <td class="does"><a class="button small" href="{{one.href}}" download aria-label="{{t("versions.download_label", at=one.at)}}">{{t("files.download")}}</a>
%   if page.may_restore:
        <button class="button small" name="restore" value="{{one.id}}" aria-label="{{t("versions.restore_label", at=one.at)}}">{{t("versions.restore")}}</button>
%   end
%   if page.may_delete:
        <button class="button small danger" name="purge" value="{{one.id}}" aria-label="{{t("versions.delete_label", at=one.at)}}">{{t("files.delete")}}</button>
%   end
      </td>
      <td data-of="{{t("versions.replaced")}}">{{one.replaced}}</td>
      <td data-of="{{t("versions.by")}}"><bdi>{{one.by}}</bdi></td></tr>
% end
  </tbody>
</table>
</div>
</form>
% if page.present and page.present.by:
<p class="note">{{!t.html("versions.sender", who=t.tag("bdi", page.present.by))}}</p>
% end
% if page.stays:
<p class="note">{{page.stays}}</p>
% end
% if not page.rows:
<p class="note">{{t("versions.none")}}</p>
% end
<p><a href="{{page.back_href}}">{{t("several.back", name=page.back)}}</a></p>
