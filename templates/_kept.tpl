% # What was typed into a form that could not be sent, and the way on. Wants: kept; with `lead`, and `label` of the button.
<div class="kept">
  <form method="post" action="{{kept.action}}" enctype="multipart/form-data">
% include('_token.tpl')
    <input type="hidden" name="draft" value="{{kept.text}}">
    <p>{{lead}}</p>
    <button class="button">{{label}}</button>
  </form>
  <details>
    <summary>{{t("kept.shown")}}</summary>
    <ul>
% for text in kept.shown:
      <li><bdi>{{text}}</bdi></li>
% end
% for name in kept.files:
      <li>{{!t.html("kept.file", name=name)}}</li>
% end
    </ul>
  </details>
% if kept.lost:
  <p class="help">{{t("kept.lost")}}</p>
% end
</div>
