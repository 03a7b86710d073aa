% rebase('layout.tpl')
<div class="head">
  <h1><bdi>{{page.title}}</bdi></h1>
% if page.edit_href or page.delete_action:
  <div class="tools">
%   if page.edit_href:
    <a class="button" href="{{page.edit_href}}">{{t("record.edit")}}</a>
%   end
%   if page.delete_action:
%     include('_delete.tpl', action=page.delete_action, what=page.title)
%   end
  </div>
% end
</div>
% include('_facts.tpl', fields=page.fields)
% if page.meta:
<dl class="meta">
%   for item in page.meta:
  <div><dt>{{item.title}}</dt><dd><bdi>{{item.text}}</bdi></dd></div>
%   end
</dl>
% end
% if page.back_href:
<p class="back"><a href="{{page.back_href}}">{{t("record.back")}}</a></p>
% end
