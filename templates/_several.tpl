% # What can be done with the rows whose boxes are ticked; these belong to this form by its name. Wants: bar.
<form class="several" id="several" method="post" action="{{bar.action}}" data-again>
% include('_token.tpl')
  <label class="choice"><input type="checkbox" name="id" value="{{bar.all}}" data-all> {{t("several.all", n=bar.count)}}</label>
  <span class="note" data-told="{{t("several.told")}}" data-none="{{t("several.with")}}" aria-live="polite">{{t("several.with")}}</span>
% if bar.may_move:
  <button class="button small" name="do" value="move">{{t("several.move")}}</button>
% end
% for what, words in bar.others:
  <button class="button small" name="do" value="{{what}}">{{words}}</button>
% end
% if bar.may_delete:
  <button class="button small danger" name="do" value="delete">{{t("several.delete")}}</button>
% end
% for kind in bar.kinds:
  <button class="button small" name="do" value="{{kind}}">{{kind.upper()}}</button>
% end
</form>
