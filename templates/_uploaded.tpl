% # What became of the files of an upload, where the list alone does not show it.
% def resolve(staged, pending, replace, both):
  <form class="row" method="post" action="{{page.action}}">
%   include('_token.tpl')
%   for sealed in staged:
    <input type="hidden" name="_staged" value="{{sealed}}">
%   end
%   for sealed in pending:
    <input type="hidden" name="_pending" value="{{sealed}}">
%   end
%   if page.waiting:
    <button class="button solid">{{both}}</button>
%   else:
%   if page.may_update:
    <button class="button" name="_replace" value="1">{{replace}}</button>
%   end
    <button class="button" name="_keep_both" value="1">{{both}}</button>
%   end
  </form>
% end
% if page.stored:
<div class="notice good" role="status">
  <p>{{t("uploaded.stored")}} \\
%   for number, one in enumerate(page.stored):
{{t("common.comma") if number else ""}}<bdi>{{one["name"]}}</bdi>\\
%   end
</p>
</div>
% end
% if page.refused:
<div class="notice bad report" role="alert" aria-labelledby="refused" tabindex="-1">
  <h2 id="refused">{{t("uploaded.waiting") if page.waiting else t("uploaded.refused", n=len(page.refused))}}</h2>
  <ul>
%   for one in page.refused:
    <li>
      <p>
%     if one.name:
        <strong><bdi>{{one.name}}</bdi></strong>:
%     end
        {{one.why}}</p>
%     if one.sealed and not page.waiting:
%       resolve([one.sealed], one.pending, t("uploaded.replace"), t("uploaded.keep"))
%     end
    </li>
%   end
  </ul>
%   if page.waiting:
%     resolve(page.pending, [], "", t("uploaded.store"))
%   elif len(page.pending) > 1:
%     resolve(page.pending, [], t("uploaded.replace_all"), t("uploaded.keep_all"))
%   end
</div>
% end
