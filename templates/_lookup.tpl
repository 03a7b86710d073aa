<% # The search above the choices of a field. Wants: field.
find_id, look = field.id + "-find", field.lookup %>
<div class="lookup" data-choices="{{field.id}}" data-href="{{look.href}}"
% for name, words in look.words.items():
  data-{{name}}="{{words}}"
% end
>
  <label for="{{find_id}}">{{t("options.find")}}<span class="visually-hidden">: {{field.title}}</span></label>
  <div class="row">
    <input type="search" id="{{find_id}}" name="{{look.find}}" value="{{look.text}}" dir="auto" autocomplete="off" aria-describedby="{{find_id}}-said">
    <input type="hidden" name="{{look.found}}" value="{{look.text}}">
    <button class="button small" name="_again" value="{{look.button}}" formnovalidate>{{t("options.look_up")}}</button>
  </div>
  <p class="help" id="{{find_id}}-said" role="status">{{look.said}}</p>
</div>
