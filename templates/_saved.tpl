% # The filters that the reader of a list has saved, and how the one that is seen is kept. Wants: saved.
<div class="saved-tabs">
% if saved.tabs:
  <nav aria-label="{{t("saved.title")}}"><ul>
    <li><a href="{{saved.all_href}}"\\
%   if saved.is_all:
 aria-current="page"\\
%   end
>{{t("saved.all")}}</a></li>
%   for one in saved.tabs:
    <li><a href="{{one.href}}"\\
%     if one.current:
 aria-current="page"\\
%     end
><bdi>{{one.title}}</bdi></a></li>
%   end
  </ul></nav>
% end
% if saved.current:
  <details class="confirm"><summary class="button small">{{t("saved.change")}}</summary>
  <div class="panel">
    <form method="post" action="{{saved.current.action}}">
%   include('_token.tpl')
      <div class="field"><label for="saved-name">{{t("saved.name")}}</label><input type="text" id="saved-name" name="title" value="{{saved.current.title}}" required maxlength="{{saved.most}}" dir="auto"></div>
      <div class="actions"><button class="button">{{t("saved.rename")}}</button>
      <button class="button danger" name="do" value="delete">{{t("delete.button")}}</button></div>
    </form>
  </div></details>
% elif saved.query:
  <details class="confirm"><summary class="button small">{{t("saved.save_as")}}</summary>
  <form class="panel" method="post" action="{{saved.action}}">
%   include('_token.tpl')
    <input type="hidden" name="list" value="{{saved.list}}"><input type="hidden" name="query" value="{{saved.query}}">
    <div class="field"><label for="saved-name">{{t("saved.name")}}</label><input type="text" id="saved-name" name="title" required maxlength="{{saved.most}}" dir="auto"></div>
    <div class="actions"><button class="button solid">{{t("saved.save")}}</button>
%   if saved.for_all:
    <button class="button" name="do" value="line">{{t("saved.for_all")}}</button>
%   end
    </div>
  </form></details>
% end
</div>
