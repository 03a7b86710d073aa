% # What a folder says of itself. Wants: readme, or None.
% if readme:
<section class="readme" aria-labelledby="readme-name">
  <h2 id="readme-name"><a href="{{readme.href}}"><bdi>{{readme.name}}</bdi></a></h2>
%   if readme.html:
  <div class="prose">
{{!readme.html}}
  </div>
%   else:
  <pre tabindex="0">
{{readme.text}}</pre>
%   end
%   if readme.is_guess:
  <p class="note">{{t("view.guess")}} <a href="{{readme.href}}">{{t("view.choose")}}</a></p>
%   end
%   if readme.is_cut:
  <p class="note">{{t("view.cut")}} <a href="{{readme.href}}">{{t("view.whole")}}</a></p>
%   end
</section>
% end
