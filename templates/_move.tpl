% # Moves a record from its state to another one. Wants: action, targets, ident, typed, name (if it has one, it is folded).
% if name:
<details class="move"><summary class="button small" aria-label="{{t("moves.label", name=name)}}">{{t("moves.open")}}</summary>
% end
<form class="moves" method="post" action="{{action}}">
% include('_token.tpl')
  <div class="field"><label for="{{ident}}">{{t("moves.comment_label")}}</label><textarea id="{{ident}}" name="comment" rows="2" dir="auto">{{typed}}</textarea></div>
  <div class="actions" role="group" aria-label="{{t("moves.onward")}}">
    <span class="note" aria-hidden="true">{{t("moves.onward")}}</span>
% for one in targets:
    <button class="button{{" small" if name else ""}} {{one.badge}}" name="to" value="{{one.value}}"><bdi>{{one.title}}</bdi></button>
% end
  </div>
</form>
% if name:
</details>
% end
