% rebase('layout.tpl')
<div class="head"><div><h1>{{title}}</h1>
  <p class="note"><bdi>{{page.form_title}}</bdi></p></div>
% if page.empties:
  <div class="tools"><form method="post" action="{{page.several.action}}">
%   include('_token.tpl')
    <button class="button danger" name="do" value="empty">{{t("trash.empty")}}</button>
  </form></div>
% end
</div>
% if page.note:
<p class="note">{{page.note}}</p>
% end
% if page.stays:
<p class="note">{{page.stays}}</p>
% end
% if page.rows:
%   include('_several.tpl', bar=page.several)
<div class="scroll" role="region" aria-labelledby="thrown" tabindex="0">
<table class="data kept-list ticked">
  <caption id="thrown" class="visually-hidden">{{title}}</caption>
  <thead><tr>
    <th class="tick" scope="col"><span class="visually-hidden">{{t("several.column")}}</span></th>
    <th scope="col">{{t("files.name")}}</th><th scope="col"><span class="visually-hidden">{{t("files.actions")}}</span></th>
    <th scope="col">{{t("trash.where")}}</th><th scope="col" class="num">{{t("files.size")}}</th>
    <th scope="col">{{t("trash.at")}}</th><th scope="col">{{t("trash.by")}}</th><th scope="col">{{t("trash.until")}}</th>
  </tr></thead>
  <tbody>
%   for one in page.rows:
    <tr><td class="tick"><input type="checkbox" name="id" form="several" value="{{one.id}}" aria-label="{{one.name}}"></td>
      <th scope="row" class="kept-name"><svg class="icon {{one.kind}}" aria-hidden="true"><use href="{{static('icon.svg')}}#{{one.kind}}"/></svg> <bdi>{{one.name}}</bdi></th>
      <td class="does">\\
%     if one.may_restore:
<button class="button small" form="several" name="restore" value="{{one.id}}" aria-label="{{t("trash.restore_label", name=one.name)}}">{{t("trash.restore")}}</button> \\
%     end
<button class="button small danger" form="several" name="purge" value="{{one.id}}" aria-label="{{t("trash.purge_label", name=one.name)}}">{{t("trash.purge")}}</button></td>
      <td data-of="{{t("trash.where")}}"><bdi>{{one.where or t("trash.top")}}</bdi></td>
      <td class="num" data-of="{{t("files.size")}}">{{one.size}}</td>
      <td data-of="{{t("trash.at")}}"><time datetime="{{one.at_iso}}">{{one.at}}</time></td>
      <td data-of="{{t("trash.by")}}"><bdi>{{one.by}}</bdi></td><td data-of="{{t("trash.until")}}">{{one.until}}</td></tr>
%   end
  </tbody>
</table>
</div>
%   include('_under.tpl')
% else:
<div class="empty"><p>{{t("trash.none")}}</p></div>
% end
<p><a href="{{page.back_href}}">{{t("several.back", name=page.form_title)}}</a></p>
