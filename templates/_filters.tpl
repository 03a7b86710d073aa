% # Somebody's saved filters, with the lists that they are of. Wants: filters.
<ul class="drafts">
% for one in filters:
  <li>
    <a href="{{one.href}}"><bdi>{{one.title}}</bdi></a> <span class="note"><bdi>{{one.of}}</bdi></span>
    <details class="confirm"><summary class="button small" aria-label="{{t("saved.change_label", name=one.title)}}">{{t("saved.change")}}</summary>
    <form class="panel" method="post" action="{{one.action}}">
%   include('_token.tpl')
      <div class="field"><label for="filter-{{one.id}}">{{t("saved.name")}}</label><input type="text" id="filter-{{one.id}}" name="title" value="{{one.title}}" required maxlength="60" dir="auto"></div>
      <div class="actions"><button class="button">{{t("saved.rename")}}</button>
      <button class="button danger" name="do" value="delete">{{t("delete.button")}}</button></div>
    </form></details>
  </li>
% end
</ul>
